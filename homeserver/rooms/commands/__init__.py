"""What users mean to do in rooms: create, join, send. Each checks, asks the policy chain, and hands drafts over."""
