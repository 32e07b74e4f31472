// Package compose tests what is beside it, as far as one can without Docker: it reads compose.yaml and the Dockerfile, and runs what they say.
package compose
