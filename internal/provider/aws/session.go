// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package aws

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/identity"
	"github.com/valetkey/valetkey/internal/provider"
)

// clockSkew is how far the clocks of STS and operator may be apart before an expiry is not believed.
const clockSkew = 10 * time.Minute

// session is what STS answered. It lives no longer than a call, and is passed to nothing that prints.
type session struct {
	keyID, secret, token string
	expires              time.Time
	// arn and userID name the session.
	arn, userID string
	// provider, audience and subject are what STS read in the identity's token, and source what it was told of a person
	// behind it: nothing.
	provider, audience, subject, source string
	// packed is how much of what a session policy can be STS says that this one is, in percent; zero where it was given none.
	packed int32
	// more reports whether the answer says something that is not known.
	more bool
}

// believable refuses an answer that is not what was asked for: incomplete, expired, living on far beyond what was asked, of
// another role or another session. Such an answer is final: something is wrong with the endpoint, and every try could issue more.
// An answer without any credential is no such thing.
func (s *session) believable(now time.Time, asked assumption) error {
	if s.keyID == "" && s.secret == "" && s.token == "" {
		return provider.Mismatched(provider.Retryable, s.works(), "STS answered without a credential")
	}
	why := ""
	switch {
	case s.keyID == "" || s.secret == "" || s.token == "" || s.expires.IsZero():
		why = "an incomplete credential"
	case !provider.Plain(s.keyID) || !provider.Plain(s.secret) || !provider.Plain(s.token):
		why = "a credential that holds characters which no credential has"
	case !s.expires.After(now):
		why = "a credential that has expired already, by the operator's clock"
	case s.expires.After(now.Add(asked.duration + clockSkew)):
		why = "a credential that lives longer than was asked for, by the operator's clock"
	case s.arn != assumedARN(asked.role, asked.session),
		!strings.HasSuffix(s.userID, ":"+asked.session):
		why = "another role or session than was asked for"
	case !s.isOf(asked):
		why = "a credential for another identity than it was shown, or by another identity provider"
	case s.packed <= 0:
		why = "a session that no session policy narrows"
	case s.more:
		why = "something beside the credential that this version of Valetkey does not know; upgrade it, or tell its authors"
	}
	if why == "" {
		return nil
	}
	return provider.Mismatched(provider.Final, s.works(), "STS answered with "+why+"; it is not used")
}

// works is until when what was answered works.
func (s *session) works() provider.Works {
	return provider.WorksUntil(s.expires).And(provider.Works{Unknown: s.more})
}

// isOf reports whether a session was given for the identity's token. AWS names the identity provider by its ARN or by its
// issuer, as the documentation and other servers do, with its scheme or without.
func (s *session) isOf(asked assumption) bool {
	var claims struct {
		Issuer  string `json:"iss"`
		Subject string `json:"sub"`
	}
	_, rest, _ := strings.Cut(asked.token.Reveal(), ".")
	body, _, _ := strings.Cut(rest, ".")
	text, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil || json.Unmarshal(text, &claims) != nil || claims.Issuer == "" || claims.Subject == "" {
		return false
	}
	host := strings.TrimPrefix(claims.Issuer, "https://")
	account, _, _ := strings.Cut(asked.role, ":role/")
	known := []string{claims.Issuer, host, account + ":oidc-provider/" + host}
	return slices.Contains(known, s.provider) && s.audience == asked.audience && s.subject == claims.Subject && s.source == ""
}

// assumedARN is the ARN of a role's session: the role's path is not part of it.
func assumedARN(role, session string) string {
	prefix, path, _ := strings.Cut(role, ":role/")
	name := path[strings.LastIndex(path, "/")+1:]
	return strings.Replace(prefix, ":iam:", ":sts:", 1) + ":assumed-role/" + name + "/" + session
}

// credential makes what the container is given, so that an SDK needs nothing else.
func (s *session) credential(p *v1alpha1.AWSProvider, delivery v1alpha1.CredentialDelivery, sent identity.Token) (
	*provider.Credential, error) {
	f := provider.CredentialFields{ID: s.keyID, Principal: s.arn, ExpiresAt: s.expires, Secrets: []string{s.secret, s.token},
		Sent: []string{sent.Reveal()}, Pointers: map[string]string{
			"AWS_REGION": p.Region, "AWS_DEFAULT_REGION": p.Region,
			// The node's own role must not be a way out.
			"AWS_EC2_METADATA_DISABLED": "true",
		}}
	if delivery == v1alpha1.DeliveryEnv {
		s.toVariables(&f, p)
	} else {
		s.toFiles(&f, p)
	}
	credential, err := provider.NewCredential(f)
	if err != nil {
		return nil, provider.Mismatched(provider.Final, s.works(), "what STS answered cannot be projected: "+err.Error())
	}
	return credential, nil
}

func (s *session) toVariables(f *provider.CredentialFields, p *v1alpha1.AWSProvider) {
	f.Variables = map[string]string{"AWS_ACCESS_KEY_ID": s.keyID, "AWS_SECRET_ACCESS_KEY": s.secret, "AWS_SESSION_TOKEN": s.token}
	if p.ServiceEndpoint != "" {
		f.Pointers["AWS_ENDPOINT_URL"] = p.ServiceEndpoint
	}
}

func (s *session) toFiles(f *provider.CredentialFields, p *v1alpha1.AWSProvider) {
	config := fmt.Sprintf("[default]\nregion = %s\n", p.Region)
	if p.ServiceEndpoint != "" {
		// An endpoint of one's own seldom has a name for each bucket.
		config += fmt.Sprintf("endpoint_url = %s\ns3 =\n  addressing_style = path\n", p.ServiceEndpoint)
	}
	f.Files = map[string]string{
		"aws/credentials": fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\naws_session_token = %s\n", s.keyID, s.secret, s.token),
		"aws/config":      config,
	}
	f.Pointers["AWS_SHARED_CREDENTIALS_FILE"] = v1alpha1.MountPath + "/aws/credentials"
	f.Pointers["AWS_CONFIG_FILE"] = v1alpha1.MountPath + "/aws/config"
	// The profile of the files, not one that the image names.
	f.Pointers["AWS_PROFILE"] = "default"
	// The SDKs for Go and Java prefer the role of the Pod's ServiceAccount, which a webhook adds, to any file. One that is
	// set to nothing is none to the SDKs, and is left alone by the webhook of EKS.
	f.Pointers["AWS_ROLE_ARN"], f.Pointers["AWS_WEB_IDENTITY_TOKEN_FILE"] = "", ""
}
