// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package outbound_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/valetkey/valetkey/internal/provider/outbound"
)

// TestClient_AnAnswerOfTwoReadingsIsNone: a check that reads the last member of a name, and a library that reads the
// first, would not look at the same token.
func TestClient_AnAnswerOfTwoReadingsIsNone(t *testing.T) {
	for text, want := range map[string]bool{
		``: true, `<xml/>`: true, `{"a":`: true, `null`: true, `{"a":1,"b":{"a":2},"c":[{"a":1},{"a":1}]}`: true,
		`{"token":"x","token":null}`: false, `{"token":"x","TOKEN":"y"}`: true, `{"a":[{"a":{"b":1,"b":1}}]}`: false, `404 not found`: true,
		`{"a":1}{"a":2}`: false, `{"a":1} x`: false, `{"a":1} ` + "\n": true, `{"policies":["root"],"policies":["default"]}`: false,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }))
		response, err := client(t, outbound.Settings{}, "").Get(server.URL)
		if (err == nil) != want {
			t.Errorf("%s: %v", text, err)
		}
		if err == nil {
			got, err := io.ReadAll(response.Body)
			if string(got) != text || err != nil {
				t.Errorf("%s is read as %s: %v", text, got, err)
			}
			_ = response.Body.Close()
		}
		server.Close()
	}
}
