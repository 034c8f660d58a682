// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"errors"
	"strings"

	"github.com/hashicorp/vault/api"
)

// refusal is a sentence of Vault's that says more than its status does.
type refusal struct {
	status int
	// begins and holds are what the sentence begins with and what else stands in it. What is between them, such as a
	// time, is not looked at.
	begins, holds string
	// words are said in its place: Vault's own could hold anything.
	words string
}

// refusals are the sentences that are known. What they tell is not mended by asking again.
var refusals = []refusal{{
	status: 400, begins: "cannot satisfy request, as TTL ", holds: "beyond the expiration of the CA certificate",
	words: "the certificate would outlive the authority that signs it; " +
		"shorten the ttl of the path's role, or renew the authority",
}}

// knownRefusal is what is said of the refusal that Vault answered with; false if it is none of those.
func knownRefusal(err error) (words string, is bool) {
	answer := (*api.ResponseError)(nil)
	if !errors.As(err, &answer) {
		return "", false
	}
	for _, r := range refusals {
		for _, line := range answer.Errors {
			line = strings.TrimPrefix(strings.TrimSpace(line), oneError)
			if answer.StatusCode == r.status && strings.HasPrefix(line, r.begins) && strings.Contains(line, r.holds) {
				return r.words, true
			}
		}
	}
	return "", false
}

// oneError is what Vault puts before an error that it counted.
const oneError = "1 error occurred:\n\t* "

// wrapped says that Vault answered with a wrapping token, which only its holder can open.
func wrapped(what string) string {
	return what + ": Vault answered with a wrapping token rather than with what was asked for; take response wrapping " +
		"away from this path, whoever adds it (an X-Vault-Wrap-TTL of a proxy, say): what is wrapped ends with the login"
}
