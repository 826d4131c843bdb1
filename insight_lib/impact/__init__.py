"""Stage 09: did it work, by how much, and how sure are we?"""
