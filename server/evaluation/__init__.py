"""How good retrieval is: questions with their expected places, measures, a report, a gate."""
