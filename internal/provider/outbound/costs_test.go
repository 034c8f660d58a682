// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package outbound_test

import (
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/internal/provider/outbound"
)

// TestClient_NoAnswerCostsMoreThanItsSize, many times over: a server can nest what it answers, and name it at length.
func TestClient_NoAnswerCostsMoreThanItsSize(t *testing.T) {
	nested := func(begin, end string, n int) string { return strings.Repeat(begin, n) + strings.Repeat(end, n) }
	long := strings.Repeat("a", 30_000)
	for name, test := range map[string]struct {
		form outbound.Form
		text string
	}{
		"XML within XML":                {outbound.XML, nested("<a>", "</a>", 9000)},
		"XML within a long name":        {outbound.XML, "<" + long + ">" + strings.Repeat("<member/>", 400) + "</" + long + ">"},
		"objects within objects":        {outbound.JSON, strings.Repeat(`{"a":`, 9000) + "1" + strings.Repeat("}", 9000)},
		"lists within lists":            {outbound.JSON, `{"a":` + nested("[", "]", 9000) + "}"},
		"objects within lists":          {outbound.JSON, `{"a":` + strings.Repeat(`[{"b":`, 6000) + "1" + strings.Repeat("}]", 6000) + "}"},
		"an error of very many objects": {outbound.JSON, `{"a":[` + strings.Repeat(`{"b":1},`, 7000) + "1]}"},
	} {
		for _, status := range []int{http.StatusOK, http.StatusForbidden} {
			var began, ended runtime.MemStats
			runtime.ReadMemStats(&began)
			answered(t, test.form, saying(status, test.text))
			runtime.ReadMemStats(&ended)
			if taken := (ended.TotalAlloc - began.TotalAlloc) >> 20; taken > 24 {
				t.Errorf("%s, %d: %d MiB", name, status, taken)
			}
		}
	}
}

// TestPlain_TokensAreNot, and what servers write into errors is.
func TestPlain_TokensAreNot(t *testing.T) {
	for text, plain := range map[string]bool{
		"": true, "Validation Failed": true, "https://docs.github.com/rest/apps/apps#create-an-installation-access-token-for-an-app": true,
		"Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).": true,
		"iam.allowServiceAccountCredentialLifetimeExtension":                                        true, "projects/123456789012": true,
		"No OpenIDConnect provider found in your account for https://oidc.eks.eu-west-1.amazonaws.com/id/D48675832CA65BD10A532F597AB1C2D3": true,
		"AROA3XFRBF535PLBIFPI4:agent-9f8c6b6a-9c2a-4e0b-8a4d-2d7db8f80731-1":                                                               true, "1 error occurred:\n\t* permission denied\n\n": true,
		"request ID 8F2C:3F1A:1B2C3D:4E5F60:65A1B2C3": true,
		"ghs_AWLXx7Q2nT8cK4mW9zR5vY1pL6dJ3hB0sF5g":    false, "hvs.CAESIx7Q2nT8cK4mW9zR5vY1pL6dJ3hB0sF5g": false,
		"s.Ga5jyNq6kNfRMVQk2LY1j9iu": false, "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJzdWIiOiJ4In0.c2lnbmF0dXJl": false,
		"ya29.c0AfH6SMBx7Q2nT8cK4mW9zR5vY1pL6dJ3": false, strings.Repeat("x", 65): false,
	} {
		if got := outbound.Plain(text); got != plain {
			t.Errorf("%q: %t", text, got)
		}
	}
}
