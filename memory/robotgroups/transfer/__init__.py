"""Export and import of a group's memories as lines of JSON: what is remembered, what it was, what it is related to."""
