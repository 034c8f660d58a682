// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package provider_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valetkey/valetkey/internal/provider"
)

// endless asks call after call, as a back end does whose server answers page after page.
type endless struct {
	provider.Provider
	// fails is what the call that the deadline ends fails with.
	fails error
}

func (e endless) ask(ctx context.Context) error {
	for ctx.Err() == nil {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
	return e.fails
}

func (e endless) Issue(ctx context.Context, _ provider.Lease) (*provider.Credential, error) {
	return nil, e.ask(ctx)
}

func (e endless) Revoke(ctx context.Context, _ provider.Issued) (provider.Revoked, error) {
	return provider.Revoked{}, e.ask(ctx)
}

// TestSet_EveryQuestionHasADeadline asks a back end that would go on for ever. The caller's own deadline is an hour.
func TestSet_EveryQuestionHasADeadline(t *testing.T) {
	for name, ask := range map[string]struct {
		question func(context.Context, provider.Provider) error
		within   time.Duration
	}{
		"issue": {func(ctx context.Context, p provider.Provider) error {
			_, err := p.Issue(ctx, provider.Lease{})
			return err
		}, provider.IssueTime},
		"revoke": {func(ctx context.Context, p provider.Provider) error {
			_, err := p.Revoke(ctx, provider.Issued{})
			return err
		}, provider.RevokeTime},
	} {
		for _, fails := range []error{
			provider.Unanswered(provider.Retryable, "IAM did not answer").Leaving(provider.Works{Unknown: true}), errors.New("an error of somebody else's"),
		} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
					defer cancel()
					p, err := provider.NewSet(endless{newFake(), fails}).OfType(provider.TypeAWS)
					if err != nil {
						t.Fatal(err)
					}
					began := time.Now()
					err = ask.question(ctx, p)
					if took := time.Since(began); took != ask.within {
						t.Errorf("it was given up after %s, want %s", took, ask.within)
					}
					if !provider.IsRetryable(err) || provider.IsRefused(err) || !strings.Contains(err.Error(), "aws-sts had not answered everything after "+ask.within.String()) {
						t.Errorf("got %v", err)
					}
					own := (*provider.Error)(nil)
					if provider.StillWorks(err).Unknown != errors.As(fails, &own) {
						t.Errorf("what is known of the answer is lost: %v", err)
					}
					if strings.Contains(err.Error(), "somebody else") {
						t.Errorf("it repeats words that nobody looked at: %v", err)
					}
				})
			})
		}
	}
}

// TestSet_WhatWasAnsweredIsNotCalledLate: a refusal stays the back end's own.
func TestSet_WhatWasAnsweredIsNotCalledLate(t *testing.T) {
	for _, want := range []*provider.Error{
		provider.Refused(provider.Final, true, "it refused"), {Class: provider.Throttled, Message: "it throttles", RetryAfter: time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			p, err := provider.NewSet(endless{newFake(), want}).OfType(provider.TypeAWS)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Revoke(t.Context(), provider.Issued{}); !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		})
	}
}

// TestCleanUp_IsBoundedAndOutlivesTheCaller: what a failed attempt began is ended also for a caller who has gone, and
// not for ever.
func TestCleanUp_IsBoundedAndOutlivesTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone, leave := context.WithCancel(t.Context())
		leave()
		ctx, cancel := provider.CleanUp(gone)
		defer cancel()
		if ctx.Err() != nil {
			t.Fatal("it ended with the caller")
		}
		began := time.Now()
		<-ctx.Done()
		if took := time.Since(began); took > provider.IssueTime {
			t.Errorf("it lasted %s", took)
		}
	})
}
