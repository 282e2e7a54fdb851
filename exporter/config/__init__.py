"""The configuration: one TOML file becomes one tree of structs, and every problem in it one sentence."""
