-- Arabic letters and Greek iotas are folded as well: the words of the user directory are made anew.
DELETE FROM journal_cursors WHERE consumer = 'user_directory';
