// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package gcp

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"

	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/outbound"
)

// oauthCode is the form of OAuth's codes. Gateways write sentences, or one word, in the same place.
var oauthCode = regexp.MustCompile(`^[a-z]+(_[a-z]+)+$`)

// statusForm is the form of Google's codes.
var statusForm = regexp.MustCompile(`^[A-Z]+(_[A-Z]+)*$`)

// ownErrors are errors as Google writes them: STS as OAuth does, or as Google's other APIs do. Source:
// https://google.aip.dev/193, the messages of
// https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto, and
// https://www.rfc-editor.org/rfc/rfc6749#section-5.2.
var ownErrors = outbound.Errors{
	Fields: slices.Concat([]string{"error", "error_description", "error_uri", "error/code", "error/message", "error/status"},
		below("error/errors", "message", "domain", "reason", "location", "locationType", "extendedHelp"),
		below("error/details", "@type", "reason", "domain", "metadata/*", "locale", "message", "retryDelay", "requestId",
			"links/description", "links/url", "violations/subject", "violations/description", "violations/type",
			"fieldViolations/field", "fieldViolations/description", "fieldViolations/reason",
			"resourceType", "resourceName", "owner", "description")),
	Text: outbound.Plain,
	Is:   func(text []byte) bool { return oauthOf(text) != "" || googleOf(text) != "" },
}

// below are paths below another.
func below(path string, names ...string) (all []string) {
	for _, name := range names {
		all = append(all, path+"/"+name)
	}
	return all
}

// codeOf is the code of a host's refusal; empty if the body is no error of that host's.
func codeOf(host string, body []byte) string {
	if code := oauthOf(body); host == stsHost && code != "" {
		return code
	}
	return googleOf(body)
}

// oauthOf is the code of an error of OAuth's; empty if a text is none.
func oauthOf(text []byte) string {
	var said struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		URI         string `json:"error_uri"`
	}
	if decode(text, &said) != nil || !oauthCode.MatchString(said.Error) {
		return ""
	}
	return said.Error
}

// googleOf is the code of an error of Google's, or the reason in its details that says more; empty if a text is none.
func googleOf(text []byte) string {
	var said struct {
		Error struct {
			Code    int               `json:"code"`
			Message string            `json:"message"`
			Status  string            `json:"status"`
			Errors  []json.RawMessage `json:"errors"`
			Details []json.RawMessage `json:"details"`
		} `json:"error"`
	}
	if decode(text, &said) != nil || said.Error.Message == "" || !statusForm.MatchString(said.Error.Status) {
		return ""
	}
	for _, detail := range said.Error.Details {
		var of struct {
			Reason string `json:"reason"`
		}
		if json.Unmarshal(detail, &of) == nil && of.Reason == serviceDisabled {
			return of.Reason
		}
	}
	return said.Error.Status
}

// decode reads a text that has no other fields than its type.
func decode(text []byte, into any) error {
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields()
	return strict.Decode(into)
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
