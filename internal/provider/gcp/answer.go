// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package gcp

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/provider"
)

// accessToken is the only kind of token that STS is asked for.
const accessToken = "urn:ietf:params:oauth:token-type:access_token"

// The fields of each host's answers that are known. The first is the token's.
var answerFields = map[string][]string{
	stsHost: {"access_token", "issued_token_type", "token_type", "expires_in", "scope"},
	iamHost: {"accessToken", "expireTime"},
}

// tokenIn is the token in a host's answer; empty if there is none that can be read.
func tokenIn(host string, body []byte) string {
	name, said, token := answerFields[host][0], map[string]json.RawMessage{}, ""
	if json.Unmarshal(body, &said) != nil || json.Unmarshal(said[name], &token) != nil {
		return ""
	}
	return token
}

// hasMore reports whether an answer has fields that are not known.
func hasMore(host string, body []byte) bool {
	said := map[string]json.RawMessage{}
	_ = json.Unmarshal(body, &said) // what is no object has no field
	return slices.ContainsFunc(slices.Collect(maps.Keys(said)), func(name string) bool { return !slices.Contains(answerFields[host], name) })
}

// worksUntil is until when what a host answered works, as far as it says.
func worksUntil(host string, body []byte, now time.Time) provider.Works {
	var said struct {
		Seconds int64     `json:"expires_in"`
		At      time.Time `json:"expireTime"`
	}
	// What cannot be read is zero, and so not known.
	_ = json.Unmarshal(body, &said)
	lifetime, known := provider.Seconds(said.Seconds)
	at := said.At
	if host == stsHost && known && lifetime > 0 {
		at = now.Add(lifetime)
	}
	return provider.WorksUntil(at).And(provider.Works{Unknown: hasMore(host, body)})
}

// asAsked reports whether an answer says no more of a token than was asked for. Google's library reads the token and
// its end alone, and drops what else is said: of which kind it is, and for which scopes. Of a number of seconds it
// makes an instant without looking whether there is such a one.
func asAsked(host string, body []byte, scopes []string, most time.Duration) bool {
	said := map[string]json.RawMessage{}
	if json.Unmarshal(body, &said) != nil {
		// The library says that it cannot be read.
		return true
	}
	if hasMore(host, body) {
		return false
	}
	if host != stsHost {
		return true
	}
	var of struct {
		Kind    string `json:"issued_token_type"`
		Scope   string `json:"scope"`
		Seconds int64  `json:"expires_in"`
	}
	if json.Unmarshal(body, &of) != nil || of.Kind != accessToken {
		return false
	}
	if _, said := said["expires_in"]; said {
		lifetime, known := provider.Seconds(of.Seconds)
		if !known || lifetime <= 0 || lifetime > most {
			return false
		}
	}
	return !slices.ContainsFunc(strings.Fields(of.Scope), func(scope string) bool { return !slices.Contains(scopes, scope) })
}
