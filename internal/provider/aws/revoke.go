// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/smithy-go"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/outbound"
)

const (
	// spreads is how long a policy takes to be known everywhere in AWS: seconds, says IAM's guide, and promises no more.
	spreads = time.Minute
	// lateness is how long after a session's expiry its denial is kept, for clocks that differ.
	lateness = 10 * time.Minute
	// longestSession is that of STS. Source: DurationSeconds at
	// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html.
	longestSession = 12 * time.Hour
	// denialPrefix begins the names of the inline policies that are ours: valetkey-<when it can go, in Unix seconds>-<leaseID>.
	denialPrefix = "valetkey-"
	// mostPages is more than a role can have of inline policies, which are 10,240 characters together. A page has 100 of
	// them.
	mostPages = 20
	// leaseLength is that of a UUID.
	leaseLength = 36
)

// handle is what ends a session when capability and provider are gone.
type handle struct {
	Capability string `json:"capability"`
	Account    string `json:"account"`
	Role       string `json:"role"`
	Revoker    string `json:"revoker"`
	Region     string `json:"region"`
	STS        string `json:"sts,omitempty"`
	IAM        string `json:"iam,omitempty"`
	Audience   string `json:"audience"`
	CABundle   string `json:"caBundle,omitempty"`
}

// server is the provider as it was when the session was issued.
func (h handle) server() *v1alpha1.CapabilityProvider {
	return &v1alpha1.CapabilityProvider{Spec: v1alpha1.CapabilityProviderSpec{AWS: &v1alpha1.AWSProvider{
		Region: h.Region, STSEndpoint: h.STS, IAMEndpoint: h.IAM, Audience: h.Audience, CABundle: h.CABundle}}}
}

// Handle is empty for a capability without a revoker role: its sessions work until they expire.
func (*Provider) Handle(l provider.Lease) string {
	c, p := l.Capability.Spec.AWS, l.Provider.Spec.AWS
	if c == nil || p == nil || c.RevokerRoleARN == "" {
		return ""
	}
	text, _ := json.Marshal(handle{Capability: l.Capability.Name, Account: c.ServiceAccountName, Role: c.RoleARN, Revoker: c.RevokerRoleARN,
		Region: p.Region, STS: p.STSEndpoint, IAM: p.IAMEndpoint, Audience: p.Audience, CABundle: p.CABundle}) // strings can always be encoded
	return string(text)
}

// Revoke denies the lease's sessions everything, by an inline policy of the role on the sessions' names, and reads it
// back. Other sessions of the role go on. Where there is no revoker role, or no room for another denial, the session
// works until it expires. Denials whose sessions have expired are taken away afterwards: no failure of that keeps a
// session working.
func (a *Provider) Revoke(ctx context.Context, i provider.Issued) (provider.Revoked, error) {
	if i.Handle == "" {
		return provider.Revoked{Mode: v1alpha1.RevocationAtExpiry}, nil
	}
	now := a.options.Clock.Now()
	over := !now.Before(i.Until)
	d, err := a.denials(ctx, i)
	if err != nil {
		if over {
			return untidy(v1alpha1.RevocationAtExpiry, err)
		}
		return provider.Revoked{}, err
	}
	defer d.connection.close()
	if over {
		// The sessions have expired.
		_, err = d.tidy(ctx, now, i)
		return untidy(v1alpha1.RevocationAtExpiry, err)
	}
	denied, err := d.deny(ctx, now, i)
	switch {
	case err != nil:
		return provider.Revoked{}, err
	case !denied:
		return provider.Revoked{Mode: v1alpha1.RevocationAtExpiry}, nil
	}
	_, err = d.tidy(ctx, now, i)
	revoked, err := untidy(v1alpha1.RevocationImmediate, err)
	revoked.Lingers = spreads
	return revoked, err
}

// untidy says what is left where denials could not be taken away. The next revocation for the role tries again. What was
// answered otherwise on the way is a failure.
func untidy(mode v1alpha1.RevocationMode, err error) (provider.Revoked, error) {
	r := provider.Revoked{Mode: mode}
	switch {
	case provider.IsMismatched(err):
		return provider.Revoked{}, err
	case err != nil:
		r.Left = "denials of sessions that have expired may be left in the role's inline policies, and fill them up: " + err.Error()
	}
	return r, nil
}

// deny stores the denial of the lease's sessions, and reports whether IAM holds it. Those whose sessions have expired
// are taken away before only where they are in its way. What was answered otherwise to that is a failure.
func (d denials) deny(ctx context.Context, now time.Time, i provider.Issued) (held bool, err error) {
	name, document, stays := denialName(i), denial(i.ID), error(nil)
	full, err := d.put(ctx, name, document)
	if full {
		var own string
		own, stays = d.tidy(ctx, now, i)
		full, err = d.put(ctx, name, document)
		switch {
		case full && own == "":
			return false, stays
		case full:
			name = own
		}
	}
	if err == nil {
		held, err = d.holds(ctx, name, document)
	}
	if provider.IsMismatched(stays) {
		err = provider.Join(err, stays)
	}
	return held, err
}

// denialName says when the denial can go: it is kept as long as any session of the lease can work.
func denialName(i provider.Issued) string {
	until := i.Until.Add(lateness)
	if i.Unknown {
		until = until.Add(longestSession)
	}
	return fmt.Sprintf("%s%d-%s", denialPrefix, until.Unix(), i.ID)
}

// denial denies every session of the lease everything. The name of a session stands behind the colon of aws:userid.
func denial(lease string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringLike":{"aws:userid":"*:agent-` + lease + `-*"}}}]}`
}

// denials are the inline policies of one role, by the revoker's rights.
type denials struct {
	connection *connection
	client     *iam.Client
	role       string
}

// denials assumes the revoker role, for inline policies of the one role alone. The caller closes the connection.
func (a *Provider) denials(ctx context.Context, i provider.Issued) (denials, error) {
	var h handle
	if json.Unmarshal([]byte(i.Handle), &h) != nil {
		return denials{}, provider.Unanswered(provider.Final, "the grant's revocation handle cannot be read")
	}
	if err := a.checkSettings(h.server()); err != nil {
		return denials{}, provider.Again("", err)
	}
	session, err := a.revoker(ctx, i, h)
	if err != nil {
		return denials{}, err
	}
	c, err := a.connect(h.CABundle, h.iamErrors())
	if err != nil {
		return denials{}, provider.Again("", err)
	}
	o := iam.Options{Region: h.Region, HTTPClient: iamReader{c.http}, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(session.keyID, session.secret, session.token)}
	if h.IAM != "" {
		o.BaseEndpoint = &h.IAM
	}
	return denials{connection: c, client: iam.New(o), role: nameOf(h.Role)}, nil
}

// The actions of IAM that the revoker role needs, on the role whose sessions are denied.
const (
	actionList   = "iam:ListRolePolicies"
	actionGet    = "iam:GetRolePolicy"
	actionPut    = "iam:PutRolePolicy"
	actionDelete = "iam:DeleteRolePolicy"
)

// revoker is a session of the revoker role that can do no more than that.
func (a *Provider) revoker(ctx context.Context, i provider.Issued, h handle) (*session, error) {
	c, err := a.connect(h.CABundle, ownErrors)
	if err != nil {
		return nil, provider.Again("", err)
	}
	defer c.close()
	token, err := a.options.Identities.Token(ctx, h.Capability, h.Account, h.Audience)
	if err != nil {
		return nil, err
	}
	policy, _ := json.Marshal(policyDocument{Version: "2012-10-17", Statement: []policyStatement{{Effect: "Allow", Resource: []string{h.Role},
		Action: []string{actionList, actionGet, actionPut, actionDelete}}}}) // strings can always be encoded
	assumed := assumption{region: h.Region, endpoint: h.STS, role: h.Revoker, session: "revoke-" + i.ID, policy: string(policy), token: token, audience: h.Audience, duration: minimumSession}
	session, err := c.assume(ctx, assumed)
	if err == nil {
		err = session.believable(a.options.Clock.Now(), assumed)
	}
	if err != nil {
		return nil, provider.Again("the revoker role: ", err)
	}
	return session, nil
}

// tidy takes away the denials whose sessions have expired, and returns the name of the lease's own if it is there and
// stays long enough. One that IAM does not take away keeps no other.
func (d denials) tidy(ctx context.Context, now time.Time, i provider.Issued) (own string, stays error) {
	names, err := d.names(ctx)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		until, of, ours := parseDenial(name)
		switch {
		case !ours:
		case now.After(until):
			_, err := d.client.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: &d.role, PolicyName: &name})
			if gone := (*iamtypes.NoSuchEntityException)(nil); err != nil && !errors.As(err, &gone) {
				stays = provider.Join(stays, iamFailure(actionDelete, err))
			}
		case of == i.ID && !until.Before(i.Until):
			own = name
		}
	}
	return own, stays
}

// names are those of the role's inline policies, each once. The SDK's paginator would ask for as many pages as the
// server says that there are, so a list that goes on longer than a real one can, or whose next page is the same one
// again, is given up.
func (d denials) names(ctx context.Context) ([]string, error) {
	var names []string
	in := &iam.ListRolePoliciesInput{RoleName: &d.role}
	for range mostPages {
		page, err := d.client.ListRolePolicies(ctx, in)
		if err != nil {
			return nil, iamFailure(actionList, err)
		}
		names = append(names, page.PolicyNames...)
		if !page.IsTruncated {
			slices.Sort(names)
			return slices.Compact(names), nil
		}
		if aws.ToString(page.Marker) == aws.ToString(in.Marker) {
			break
		}
		in.Marker = page.Marker
	}
	return nil, provider.Unanswered(provider.Retryable, "IAM's list of the role's inline policies does not end")
}

func parseDenial(name string) (until time.Time, lease string, ours bool) {
	rest, ours := strings.CutPrefix(name, denialPrefix)
	seconds, lease, found := strings.Cut(rest, "-")
	unix, err := strconv.ParseInt(seconds, 10, 64)
	return time.Unix(unix, 0), lease, ours && found && err == nil && len(lease) == leaseLength
}

// put stores a denial; full when the role's inline policies are as long together as IAM takes.
func (d denials) put(ctx context.Context, name, document string) (full bool, err error) {
	_, err = d.client.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &d.role, PolicyName: &name, PolicyDocument: &document})
	if limit := (*iamtypes.LimitExceededException)(nil); errors.As(err, &limit) {
		return true, nil
	}
	return false, iamFailure(actionPut, err)
}

// holds reads a denial back.
func (d denials) holds(ctx context.Context, name, document string) (bool, error) {
	answer, err := d.client.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: &d.role, PolicyName: &name})
	if err != nil {
		return false, iamFailure(actionGet, err)
	}
	stored, err := url.PathUnescape(aws.ToString(answer.PolicyDocument))
	if err != nil || stored != document || aws.ToString(answer.RoleName) != d.role || aws.ToString(answer.PolicyName) != name {
		return false, provider.Unanswered(provider.Retryable, "IAM answers with another policy than the denial, or with one of another name or role")
	}
	return true, nil
}

// iamFailure says which action failed, and keeps the status that IAM answered and none of its words. What is refused
// for want of rights can be mended.
func iamFailure(action string, err error) error {
	if err == nil {
		return nil
	}
	unread := outbound.Unread("IAM", err)
	if errors.Is(err, errMore) {
		unread = errMore.Error()
	}
	if unread != "" {
		// Nobody can read until when that works which such an answer may hold.
		return provider.Mismatched(provider.Retryable, provider.Works{Unknown: true}, action+": "+unread)
	}
	e := provider.Unanswered(provider.Retryable, action+": IAM did not answer, or not in a form that can be read")
	if why := outbound.Unsent("IAM", err); why != "" {
		e.Message = why
	}
	if response := (*awshttp.ResponseError)(nil); errors.As(err, &response) && response.HTTPStatusCode() >= http.StatusMultipleChoices {
		e.Message, e.RetryAfter = "IAM refused "+action+" to the revoker role: status "+strconv.Itoa(response.HTTPStatusCode()), outbound.RetryAfter(response.Response.Header)
		answer, code := smithy.APIError(nil), ""
		if errors.As(err, &answer) {
			code = answer.ErrorCode()
		}
		if throttles(code, response.HTTPStatusCode()) {
			e.Class, e.Message = provider.Throttled, "IAM throttles"
		}
	}
	return e
}
