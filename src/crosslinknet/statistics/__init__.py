"""What numbers of a few subjects say of others: intervals, paired tests, ranks.

Everything is counted by subject, since images of one person resemble each other. No function draws
a random number that its seed does not fix.
"""
