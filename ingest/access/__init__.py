"""Who may read which document: rules on knowledge bases, folders and documents, kept apart from the text."""
