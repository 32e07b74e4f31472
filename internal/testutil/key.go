package testutil

import "crypto/sha256"

// Key returns a key for a Cluster: the same one for the same name.
func Key(name string) []byte {
	key := sha256.Sum256([]byte(name))
	return key[:]
}
