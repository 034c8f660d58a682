// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package delivery_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/internal/delivery"
)

func TestTerms_AreReadAsTheyWereWritten(t *testing.T) {
	issued := time.Date(2026, 7, 1, 12, 0, 0, 250e6, time.FixedZone("CEST", 7200))
	want := delivery.Terms{
		Issued:    issued.UTC(),
		Expires:   issued.Add(15 * time.Minute).UTC(),
		Variables: map[string]string{"AWS_REGION": "us-east-1"},
	}
	got, err := delivery.Decode(
		delivery.Terms{Issued: issued, Expires: issued.Add(15 * time.Minute), Variables: want.Variables}.Encode(),
	)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestTerms_WithoutAnEndAreNone(t *testing.T) {
	for _, text := range []string{
		"", "{", "null", "[]", "{}", `{"issued":"2026-07-01T12:00:00Z"}`, `{"expires":"2026-07-01T12:00:00Z"}`,
		`{"issued":"2026-07-01T12:00:00Z","expires":"soon"}`,
		`{"issued":"2026-07-01T12:00:00Z","expires":"0001-01-01T00:00:00Z"}`,
		`{"issued":"2026-07-01T12:00:00Z","expires":"2026-07-01T12:15:00Z"} trailing`,
	} {
		if terms, err := delivery.Decode([]byte(text)); err == nil {
			t.Errorf("%q is read as %+v", text, terms)
		}
	}
}
