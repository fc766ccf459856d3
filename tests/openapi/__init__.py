"""What `test_openapi.py` gives to schemathesis, and what the documents are linted with."""
