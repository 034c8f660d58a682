// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"errors"
	"fmt"
	"regexp"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/valetkey/valetkey/internal/controller/observe"
	"github.com/valetkey/valetkey/internal/lifecycle"
)

// mostWrites is how often the API server may refuse one write on the way to a started Job, within some fifteen seconds.
// Then the grant ends, and what was issued for it is revoked.
const mostWrites = 5

// writeError is a write on that way that failed. It prints no word of the API server's: a webhook may repeat what it was
// sent.
type writeError struct {
	what  string
	cause error
	// secret is set where the credential itself was sent: whoever refused it may have quoted it, in whatever form.
	secret bool
}

// kubernetesOwn are the words that Kubernetes itself has for a refusal, with the names of quotas, webhooks, policies and
// namespaces, up to where somebody else's words begin.
var kubernetesOwn = regexp.MustCompile(`exceeded quota: [a-z0-9.-]{1,253}, requested: [a-z0-9./=,-]{1,200}, used: [a-z0-9./=,-]{1,200}, limited: [a-z0-9./=,-]{1,200}|` +
	`admission webhook "[a-z0-9.-]{1,253}" denied the request|` +
	`ValidatingAdmissionPolicy '[a-z0-9.-]{1,253}' with binding '[a-z0-9.-]{1,253}' denied request|` +
	`unable to create new content in namespace [a-z0-9-]{1,63} because it is being terminated`)

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
	words, said := failed.Error(), saidBy(failed.cause)
	if failed.secret {
		said = kubernetesOwn.FindString(failed.cause.Error())
	}
	if said != "" {
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
