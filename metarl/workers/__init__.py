"""Workers in other processes and on other machines: how they are started, called, counted and replaced."""
