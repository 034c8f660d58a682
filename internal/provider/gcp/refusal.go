// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package gcp

import (
	"encoding/json"
	"regexp"

	"github.com/valetkey/valetkey/internal/provider"
)

// oauthCode is the form of OAuth's codes. Gateways write sentences, or one word, in the same place.
var oauthCode = regexp.MustCompile(`^[a-z]+(_[a-z]+)+$`)

// codeOf is the code of a host's refusal: STS has it as OAuth does, or as Google's other APIs do, with a reason in its
// details that says more. It is empty if the body is no error in such a form. Source: https://google.aip.dev/193 and
// https://www.rfc-editor.org/rfc/rfc6749#section-5.2.
func codeOf(host string, body []byte) string {
	var oauth struct {
		Error string `json:"error"`
	}
	if host == stsHost && json.Unmarshal(body, &oauth) == nil && oauthCode.MatchString(oauth.Error) {
		return oauth.Error
	}
	var google struct {
		Error struct {
			Message string `json:"message"`
			Status  string `json:"status"`
			Details []struct {
				Reason string `json:"reason"`
			} `json:"details"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &google) != nil || google.Error.Message == "" {
		return ""
	}
	for _, detail := range google.Error.Details {
		if detail.Reason == serviceDisabled {
			return detail.Reason
		}
	}
	return google.Error.Status
}

// serviceDisabled is the reason of a refusal for an API that is not enabled.
const serviceDisabled = "SERVICE_DISABLED"

// verdict knows the codes that are documented, and what a person should know of them. The call is the first, by which
// the identity's token is exchanged, or a later one.
func verdict(call int, code string) (provider.Class, string) {
	switch code {
	// Clocks differ, and keys are fetched late.
	case "invalid_grant":
		return provider.Retryable, "it could not verify the identity's token; compare the cluster's issuer, its keys, " +
			"the audience and the attribute condition with the workload identity provider"
	case "invalid_target":
		return provider.Final, "there is no such workload identity provider, or it or its pool is disabled or deleted; " +
			"compare the provider's spec.gcp.workloadIdentityProvider with gcloud iam workload-identity-pools providers describe"
	case "invalid_request", "invalid_scope":
		if call == 1 {
			return provider.Final, "it accepts neither the workload identity provider's name nor the scopes; " +
				"the name has the project's number: projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER"
		}
		return provider.Final, "the scopes or the boundary are not what it accepts"
	case "unauthorized_client", "access_denied":
		return provider.Final, "the workload identity provider does not accept the capability's identity"
	case serviceDisabled:
		return provider.Final, "an API is not enabled in the project; " +
			"enable iamcredentials.googleapis.com and sts.googleapis.com"
	case "PERMISSION_DENIED":
		return provider.Final, "the service account does not exist, is disabled, or lets the capability's identity " +
			"not impersonate it (roles/iam.workloadIdentityUser)"
	case "NOT_FOUND":
		return provider.Final, "there is no such service account, or it is disabled"
	case "INVALID_ARGUMENT":
		return provider.Final, "it gives no token of these scopes for so long: " +
			"more than an hour needs iam.allowServiceAccountCredentialLifetimeExtension"
	case "FAILED_PRECONDITION":
		return provider.Final, "the service account is disabled; enable it: gcloud iam service-accounts enable"
	case "UNAUTHENTICATED":
		return provider.Retryable, "it does not accept the federated token"
	default:
		return provider.Final, "with a code that it does not document"
	}
}
