// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package gcp

import (
	"encoding/json"
	"slices"
	"strings"
)

// accessToken is the only kind of token that STS is asked for.
const accessToken = "urn:ietf:params:oauth:token-type:access_token"

// The fields of each host's answers that are known.
var answerFields = map[string][]string{
	stsHost: {"access_token", "issued_token_type", "token_type", "expires_in", "scope"},
	iamHost: {"accessToken", "expireTime"},
}

// asAsked reports whether an answer says no more of a token than was asked for. Google's library reads the token and
// its end alone, and drops what else is said: of which kind it is, and for which scopes.
func asAsked(host string, body []byte, scopes []string) bool {
	said := map[string]json.RawMessage{}
	if json.Unmarshal(body, &said) != nil {
		// The library says that it cannot be read.
		return true
	}
	for name := range said {
		if !slices.Contains(answerFields[host], name) {
			return false
		}
	}
	if host != stsHost {
		return true
	}
	var of struct {
		Kind  string `json:"issued_token_type"`
		Scope string `json:"scope"`
	}
	if json.Unmarshal(body, &of) != nil || of.Kind != accessToken {
		return false
	}
	return !slices.ContainsFunc(strings.Fields(of.Scope), func(scope string) bool { return !slices.Contains(scopes, scope) })
}
