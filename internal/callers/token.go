// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package callers

import (
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
)

// longestToken bounds what is looked at. An API server's own tokens have some thousand bytes.
const longestToken = 16 << 10

// leeway is what clocks may differ by.
const leeway = 10 * time.Second

// algorithms that API servers sign tokens with.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.ES384, jose.ES512}

// caller is the owner of a token.
type caller struct {
	username, namespace string
	expires             time.Time
}

// read returns whose token it is, if it is a ServiceAccount's that the API server signed for the audience and that
// has not expired. Whether it was revoked meanwhile, only the API server knows.
func (p *published) read(token, audience string, now time.Time) (caller, bool) {
	if len(token) > longestToken {
		return caller{}, false
	}
	signed, err := jwt.ParseSigned(token, algorithms)
	if err != nil || len(signed.Headers) != 1 {
		return caller{}, false
	}
	expected := jwt.Expected{Issuer: p.issuer, AnyAudience: jwt.Audience{audience}, Time: now}
	// A signature takes a while to verify. What could not be right whoever signed it is not worth that.
	var said jwt.Claims
	err = signed.UnsafeClaimsWithoutVerification(&said)
	if err != nil || said.Expiry == nil || said.ValidateWithLeeway(expected, leeway) != nil {
		return caller{}, false
	}
	for _, key := range p.keys.Key(signed.Headers[0].KeyID) {
		var claims jwt.Claims
		if signed.Claims(key.Key, &claims) != nil || claims.ValidateWithLeeway(expected, leeway) != nil {
			continue
		}
		namespace, _, err := serviceaccount.SplitUsername(claims.Subject)
		return caller{username: claims.Subject, namespace: namespace, expires: claims.Expiry.Time()}, err == nil
	}
	return caller{}, false
}
