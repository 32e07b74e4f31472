package publisher

import (
	"context"
	"errors"
	"fmt"

	"github.com/wspush/wspush/internal/wire"
)

var errCredential = errors.New("wspush: the credential has characters that no header may have, such as the line break at the end of a file")

// checkCredential refuses what cannot be sent in an Authorization header.
func checkCredential(credential string) error {
	for _, c := range []byte(credential) {
		if c <= ' ' || c >= 0x7f {
			return errCredential
		}
	}
	return nil
}

// credentialError is why there was no credential for a request, which was therefore not sent.
type credentialError struct{ err error }

func (e *credentialError) Error() string {
	return fmt.Sprintf("wspush: nothing was sent: CredentialFunc: %s", wire.WithoutPackage(e.err))
}
func (e *credentialError) Unwrap() error { return e.err }

// credential returns what a new request proves itself with, or "". It is called once for each call, or request of a Stream.
func (c *Client) credential(ctx context.Context) (string, error) {
	if c.opts.CredentialFunc == nil {
		return c.opts.Credential, nil
	}
	credential, err := c.opts.CredentialFunc(ctx)
	if err == nil {
		err = checkCredential(credential)
	}
	if err != nil {
		return "", &credentialError{err}
	}
	return credential, nil
}
