// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// IssueTime bounds Issue as a whole, however many calls it makes. Together with the time for which a controller lets
	// an attempt wait for its turn it is the minute that Lifetime adds to a TTL.
	IssueTime = 45 * time.Second
	// RevokeTime bounds Revoke as a whole. The controller asks again later, and says meanwhile why the grant waits.
	RevokeTime = time.Minute
	// cleanUpTime bounds what a failed Issue does to end what it began.
	cleanUpTime = 15 * time.Second
)

// bounded gives every question to a back end a deadline. Each call that a back end makes has one of its own, but
// nothing else bounds how many calls it makes: a list of pages that never ends would hold a worker for ever.
type bounded struct{ Provider }

func (b bounded) Issue(ctx context.Context, l Lease) (*Credential, error) {
	within, cancel := context.WithTimeout(ctx, IssueTime)
	defer cancel()
	credential, err := b.Provider.Issue(within, l)
	return credential, b.overdue(ctx, within, err, IssueTime)
}

func (b bounded) Revoke(ctx context.Context, i Issued) (Revoked, error) {
	within, cancel := context.WithTimeout(ctx, RevokeTime)
	defer cancel()
	revoked, err := b.Provider.Revoke(within, i)
	return revoked, b.overdue(ctx, within, err, RevokeTime)
}

// overdue says of a failure that it came because the deadline passed. What the back end refused for good, or for now,
// it did answer.
func (b bounded) overdue(ctx, within context.Context, err error, most time.Duration) error {
	if !IsRetryable(err) || ctx.Err() != nil || within.Err() == nil {
		return err
	}
	last := ""
	if e := (*Error)(nil); errors.As(err, &e) {
		last = "; the last that happened: " + e.Message
	}
	return &Error{Class: Retryable, nothing: IsRefused(err), works: StillWorks(err), Message: fmt.Sprintf(
		"the back end %s had not answered everything after %s and is asked again later; "+
			"look at its server, and at what is in between%s", b.Type(), most, last)}
}

// CleanUp is a context for ending what a failed Issue began, also when the caller has given up. It has a deadline of
// its own.
func CleanUp(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), cleanUpTime)
}
