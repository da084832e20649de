"""How good is a voice? Measures over held-out answers, comparisons with intervals, a gate, a report. All of it pure."""
