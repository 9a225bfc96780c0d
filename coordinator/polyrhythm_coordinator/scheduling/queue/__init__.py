"""From a request to its plan: who may hand in what, which picture is next, and by whom it is made."""
