"""One file a finding; each is found by being here."""
