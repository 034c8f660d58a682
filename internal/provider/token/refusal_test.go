// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package token_test

import (
	"context"
	"errors"
	"testing"

	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/token"
	"github.com/valetkey/valetkey/internal/signer"
)

// mute is a signer that fails in one way.
type mute struct {
	signer.Signer
	failure error
}

func (m mute) Sign(context.Context, any) (string, error) { return "", m.failure }

// TestIssue_OnlyASignerThatDidNotSignIsSaidNotToHave is about one whose answer was lost, or is no signature.
func TestIssue_OnlyASignerThatDidNotSignIsSaidNotToHave(t *testing.T) {
	for failure, refused := range map[error]bool{
		errors.New("the signer did not sign"): true, signer.ErrBusy: true, signer.ErrUnproven: false,
		signer.ErrNoSignature: false,
	} {
		backend := token.New(token.Options{Issuer: issuer, Signer: mute{failure: failure}, Clock: clock.RealClock{}})
		if c, err := backend.Issue(t.Context(), lease(v1alpha1.VerifyBySignature)); c != nil || provider.IsRefused(err) != refused {
			t.Errorf("%v: got credential %t, refused %t, %v", failure, c != nil, provider.IsRefused(err), err)
		} else if provider.IsMismatched(err) != errors.Is(failure, signer.ErrNoSignature) {
			t.Errorf("%v: mismatched %t", failure, provider.IsMismatched(err))
		}
	}
}
