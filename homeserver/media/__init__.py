"""Media: files that users upload, and smaller pictures of them. spec: client-server-api/#content-repository"""
