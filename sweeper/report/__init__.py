"""What a study comes to: ranking, tables, files, terminal. The only room that names pandas."""
