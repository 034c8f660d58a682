// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/valetkey/valetkey/internal/controller/observe"
	"github.com/valetkey/valetkey/internal/lifecycle"
	"github.com/valetkey/valetkey/internal/policy"
)

// mostWrites is how often the API server may refuse one write on the way to a started Job, within some fifteen seconds.
// Then the grant ends, and what was issued for it is revoked.
const mostWrites = 5

// writeError is a write on that way that failed. It prints no word of the API server's: a webhook may repeat what it was
// sent.
type writeError struct {
	what  string
	cause error
}

func (e *writeError) Error() string {
	return fmt.Sprintf("%s: %s", e.what, apierrors.ReasonForError(e.cause))
}

// tried takes note of a write that the API server refused for certain, as quotas, Pod Security and somebody's webhooks
// do: the grant says why, and it is tried again a bounded number of times.
func (c *Controller) tried(mem *memory, err error) error {
	failed := (*writeError)(nil)
	if !errors.As(err, &failed) || !observe.Refused(failed.cause) {
		return err
	}
	words := failed.Error()
	if said := policy.Clip(failed.cause.Error(), maxWords); mem.credential == nil || !mem.credential.ToldIn(said) {
		words = failed.what + " is refused: " + said
	}
	mem.writes++
	if mem.writes >= mostWrites {
		mem.Failure = lifecycle.Failure{Final: true, Message: words}
		return nil
	}
	mem.WriteRefused, mem.WriteNotBefore = words, c.Clock.Now().Add(backoff(mem.writes))
	return nil
}
