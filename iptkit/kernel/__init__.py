"""Access to the kernel's rulesets: the xtables lock, table images, libiptc, nf_tables, what is live.

Nothing here knows what a rule means.  Tables, chains and encoded entries go by
as names and bytes; the layers above decode and encode them.
"""
