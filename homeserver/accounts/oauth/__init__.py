"""Sign-in by OAuth 2.0, without a second server. spec: client-server-api/#oauth-20-api"""
