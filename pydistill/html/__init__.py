"""What pages share: charts, formats, style."""
