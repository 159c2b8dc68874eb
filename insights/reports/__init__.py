"""Reports by e-mail.

planning  which reports are due, and what became of those that nobody noted
claims    who works on a report, and how far it is
sending   one stretch of sending, over one connection
smtp      the dialogue with the mail server, cut where a mail changes hands
message   a report as a mail: HTML, plain text and headers
wording   figures and texts as people read them
"""
