// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package aws

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/outbound"
)

// verdict is what a code of STS means: what to do, and what a person should know.
type verdict struct {
	class provider.Class
	words string
}

// verdictOf knows the codes that STS documents, with "Exception" behind them or without: STS itself writes both. A
// code that an endpoint invents could carry anything: it is not repeated. The sentence tells apart what STS has one
// code for.
func verdictOf(code, sentence string, a assumption) (verdict, bool) {
	switch strings.TrimSuffix(code, "Exception") {
	// Clocks differ, the issuer's keys are fetched late, web identity fails now and then: seen often, and passing.
	case "ExpiredToken":
		return verdict{provider.Retryable, "the identity's token is too old by the clock of STS; compare the clocks of the cluster and of STS"}, true
	case "IDPCommunicationError":
		return verdict{provider.Retryable, "STS could not reach the cluster's ServiceAccount issuer"}, true
	case "InvalidIdentityToken":
		return notVerified(sentence), true

	case "AccessDenied":
		return verdict{provider.Final, "the role does not exist, or its trust policy does not accept the capability's ServiceAccount"}, true
	case "IDPRejectedClaim":
		return verdict{provider.Final, "the identity provider rejected the token's claims"}, true
	case "MalformedPolicyDocument":
		return verdict{provider.Final, "the session policy made of the capability's scope is not one that STS understands"}, true
	case "PackedPolicyTooLarge":
		return verdict{provider.Final, fmt.Sprintf("the session policy made of the capability's scope, of %d characters, "+
			"is too large once STS has packed it; name fewer or shorter resources%s", len(a.policy), a.longest)}, true
	case "RegionDisabled":
		return verdict{provider.Final, "STS is not activated for the account in the provider's region; " +
			"activate it in the account settings of IAM, or name another region in the provider's spec.aws.region"}, true
	case "ValidationError", "InvalidParameterValue":
		return verdict{provider.Final, "STS accepts neither so long a session of this role nor these names; compare the role's maximum session duration with the TTL"}, true
	case "NoSuchEntity":
		return verdict{provider.Final, "the role does not exist"}, true
	}
	return verdict{}, false
}

// notVerified tells what is set up wrongly, and stays so, from keys that STS could not fetch now. The sentences are
// those that STS answers with, and are compared as a whole or by their beginning.
func notVerified(sentence string) verdict {
	switch {
	case strings.TrimRight(sentence, ". ") == "Incorrect token audience":
		return verdict{provider.Final, "the identity provider in IAM does not list the provider's spec.aws.audience; " +
			"add it to the identity provider's audiences"}
	case strings.HasPrefix(sentence, "Couldn't retrieve verification key from your identity provider"):
		return verdict{provider.Retryable, "STS could not fetch the keys of the cluster's ServiceAccount issuer; " +
			"it passes as a rule, and if not, see whether AWS reaches the issuer's published keys"}
	case strings.HasPrefix(sentence, "No OpenIDConnect provider found in your account"):
		return verdict{provider.Retryable, "the role's account has no identity provider of the cluster's ServiceAccount " +
			"issuer; create it in IAM"}
	}
	return verdict{provider.Retryable, "STS could not verify the identity's token; compare the cluster's issuer, " +
		"its published keys and the audience with the role's identity provider"}
}

// noCode stands for the code of an answer that is not one of AWS's error documents, or names no code.
const noCode = "UnknownError"

// classify sorts what went wrong by the code and the status that STS answered. Not one word of an answer is repeated.
func classify(err error, a assumption) error {
	if why := outbound.Unsent("STS", err); why != "" {
		return provider.NotAsked(provider.Retryable, why)
	}
	var answer smithy.APIError
	var response *awshttp.ResponseError
	words := cmp.Or(outbound.Unread("STS", err), "STS did not answer, or not in a form that can be read")
	// The SDK has a response without a status, too, of a server that did not answer.
	success := errors.As(err, &response) && response.HTTPStatusCode() >= http.StatusOK && response.HTTPStatusCode() < http.StatusMultipleChoices
	switch {
	case success || outbound.Unread("STS", err) != "":
		// What such an answer holds was issued, and nobody can read until when it works.
		return provider.Mismatched(provider.Retryable, provider.Works{Unknown: true}, words)
	case !errors.As(err, &answer) || response == nil:
		return provider.Unanswered(provider.Retryable, words)
	}
	code, status := answer.ErrorCode(), response.HTTPStatusCode()
	found, known := verdictOf(code, answer.ErrorMessage(), a)
	own, wait := code != noCode, outbound.RetryAfter(response.Response.Header)
	refuses := outbound.Refuses(status, own)
	var e *provider.Error
	switch {
	case throttles(code, status):
		// A code for it says that nothing was begun, also with the status of a server that is too busy.
		refuses = refuses || throttles(code, 0) && status == http.StatusServiceUnavailable
		e = provider.Refused(provider.Throttled, refuses, "STS throttles")
	case status < http.StatusBadRequest:
		return provider.Unanswered(provider.Retryable, words)
	case !refuses:
		e = provider.Unanswered(provider.Retryable, outbound.Unproven("STS", status, own))
	case known:
		return provider.Refused(found.class, refuses, "STS refused ("+code+"): "+found.words)
	default:
		return provider.Refused(provider.Final, refuses, "STS refused, with a code that it does not document: status "+strconv.Itoa(status))
	}
	e.RetryAfter = wait
	return e
}

// throttles reports whether AWS asks to be left alone: its services say so by 429, or by a code with another status.
func throttles(code string, status int) bool {
	_, known := retry.DefaultThrottleErrorCodes[code]
	return known || status == http.StatusTooManyRequests
}
