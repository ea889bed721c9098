-- Names are folded as messages are: the words of the user directory are made anew.
DELETE FROM journal_cursors WHERE consumer = 'user_directory';
