"""The server's own database: engine, one writer, tables, migrations."""
