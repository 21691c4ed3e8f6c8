"""
Draws the workflow that an agent stores: `document` reads it, whatever it holds, `layout` says where
everything is, and `drawing` makes the shapes. The same document gives the same bytes. Nothing in
here reads a database.
"""
