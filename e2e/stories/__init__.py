"""End-to-end stories on the local cluster; each asserts what a user or an attacker would see."""
