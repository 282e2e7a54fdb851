"""The configuration: one TOML file becomes one tree of structs; each problem in it is reported as one sentence."""
