"""A small fact cache under churn; `__main__` says how to run it."""
