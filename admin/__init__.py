"""For the people who run a server: admin API, web console, spam rules, audit."""
