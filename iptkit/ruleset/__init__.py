"""The meaning of a document: binding, interpretation, canonical form."""
