// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

const (
	awsRegion  = "us-east-1"
	rootKey    = "root"
	rootSecret = "rootsecret" // of a server that only this machine reaches and that ends with its cluster
	healthPath = "/healthz"
)

// AWS tells how to reach the cluster's STS, IAM and S3, and sets them up.
type AWS struct {
	Region string
	// Endpoint serves STS and IAM to the host, S3Endpoint serves S3.
	Endpoint, S3Endpoint string
	// InClusterSTS and InClusterS3 are the same for Pods, and alike in every cluster.
	InClusterSTS, InClusterS3 string
	// RootKey and RootSecret may do everything.
	RootKey, RootSecret string
	// Issuer is the cluster's ServiceAccount issuer.
	Issuer string

	thumbprint string
}

// RoleSpec is a role that one ServiceAccount of the cluster may assume.
type RoleSpec struct {
	Name           string
	Namespace      string
	ServiceAccount string
	// Audience is what tokens must be for; empty means sts.amazonaws.com.
	Audience string
	// Policy is what the role may do; empty means everything in S3.
	Policy string
}

const (
	defaultAudience = "sts.amazonaws.com"
	defaultPolicy   = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`
)

// AWS returns nil for a cluster that was started without.
func (c *Cluster) AWS() *AWS {
	if !c.rec.AWS {
		return nil
	}
	// AWS pins an issuer by the SHA-1 of the certificate at the top of its chain.
	sum := sha1.Sum(c.ca.cert.Raw)
	at := func(address string, port int) string { return fmt.Sprintf("http://%s:%d", address, port) }
	return &AWS{
		Region:       awsRegion,
		Endpoint:     at(c.Address(), stsPort),
		S3Endpoint:   at(c.Address(), s3Port),
		InClusterSTS: at(awsAddress, stsPort),
		InClusterS3:  at(awsAddress, s3Port),
		RootKey:      rootKey,
		RootSecret:   rootSecret,
		Issuer:       issuerURL,
		thumbprint:   hex.EncodeToString(sum[:]),
	}
}

// IAM returns a client with root's rights.
func (a *AWS) IAM() *iam.Client {
	return iam.New(iam.Options{Region: a.Region, BaseEndpoint: &a.Endpoint, HTTPClient: direct(), Credentials: a.root()})
}

// S3 returns a client with root's rights.
func (a *AWS) S3() *s3.Client { return a.S3As(a.root()) }

// S3As returns a client with the given credentials.
func (a *AWS) S3As(c aws.CredentialsProvider) *s3.Client {
	return s3.New(s3.Options{Region: a.Region, BaseEndpoint: &a.S3Endpoint, UsePathStyle: true, HTTPClient: direct(), Credentials: c})
}

// STS returns a client without credentials, which is what AssumeRoleWithWebIdentity wants.
func (a *AWS) STS() *sts.Client {
	return sts.New(sts.Options{Region: a.Region, BaseEndpoint: &a.Endpoint, HTTPClient: direct()})
}

// direct is a client that asks no proxy, for none leads to the cluster.
func direct() *http.Client {
	return &http.Client{Transport: &http.Transport{IdleConnTimeout: time.Minute}}
}

func (a *AWS) root() aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(a.RootKey, a.RootSecret, "")
}

// EnsureIssuer makes the cluster's issuer known to IAM, for tokens of these audiences, and returns its ARN.
func (a *AWS) EnsureIssuer(ctx context.Context, audiences ...string) (string, error) {
	if len(audiences) == 0 {
		audiences = []string{defaultAudience}
	}
	client := a.IAM()
	out, err := client.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{
		Url: &a.Issuer, ClientIDList: audiences, ThumbprintList: []string{a.thumbprint},
	})
	if err == nil {
		return aws.ToString(out.OpenIDConnectProviderArn), nil
	}
	var exists *iamtypes.EntityAlreadyExistsException
	if !errors.As(err, &exists) {
		return "", fmt.Errorf("create the OpenID Connect provider: %w", err)
	}
	list, err := client.ListOpenIDConnectProviders(ctx, &iam.ListOpenIDConnectProvidersInput{})
	if err != nil {
		return "", err
	}
	for _, p := range list.OpenIDConnectProviderList {
		err := a.addAudiences(ctx, p.Arn, audiences)
		return aws.ToString(p.Arn), err // a cluster has one issuer
	}
	return "", errors.New("IAM says that the provider exists, and lists none")
}

func (a *AWS) addAudiences(ctx context.Context, arn *string, audiences []string) error {
	for _, audience := range audiences {
		_, err := a.IAM().AddClientIDToOpenIDConnectProvider(ctx, &iam.AddClientIDToOpenIDConnectProviderInput{
			OpenIDConnectProviderArn: arn, ClientID: &audience,
		})
		if err != nil {
			return fmt.Errorf("add audience %s: %w", audience, err)
		}
	}
	return nil
}

// EnsureRole makes or updates a role, and the issuer where it is not known yet, and returns the role's ARN.
func (a *AWS) EnsureRole(ctx context.Context, spec RoleSpec) (string, error) {
	if spec.Audience == "" {
		spec.Audience = defaultAudience
	}
	if spec.Policy == "" {
		spec.Policy = defaultPolicy
	}
	provider, err := a.EnsureIssuer(ctx, spec.Audience)
	if err != nil {
		return "", err
	}
	trust, err := trustPolicy(provider, spec)
	if err != nil {
		return "", err
	}
	client := a.IAM()
	_, err = client.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &spec.Name, AssumeRolePolicyDocument: &trust})
	var exists *iamtypes.EntityAlreadyExistsException
	if errors.As(err, &exists) {
		_, err = client.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: &spec.Name, PolicyDocument: &trust})
	}
	if err != nil {
		return "", fmt.Errorf("role %s: %w", spec.Name, err)
	}
	_, err = client.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &spec.Name, PolicyName: aws.String("main"), PolicyDocument: &spec.Policy})
	if err != nil {
		return "", fmt.Errorf("policy of role %s: %w", spec.Name, err)
	}
	role, err := client.GetRole(ctx, &iam.GetRoleInput{RoleName: &spec.Name})
	if err != nil {
		return "", err
	}
	return aws.ToString(role.Role.Arn), nil
}

func trustPolicy(provider string, spec RoleSpec) (string, error) {
	type object map[string]any
	b, err := json.Marshal(object{
		"Version": "2012-10-17",
		"Statement": []object{{
			"Effect":    "Allow",
			"Principal": object{"Federated": provider},
			"Action":    "sts:AssumeRoleWithWebIdentity",
			"Condition": object{"StringEquals": object{
				issuerHost + ":aud": spec.Audience,
				issuerHost + ":sub": "system:serviceaccount:" + spec.Namespace + ":" + spec.ServiceAccount,
			}},
		}},
	})
	return string(b), err
}

// EnsureBucket makes a bucket unless it is there.
func (a *AWS) EnsureBucket(ctx context.Context, name string) error {
	_, err := a.S3().CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name})
	var exists *s3types.BucketAlreadyExists
	var owned *s3types.BucketAlreadyOwnedByYou
	if errors.As(err, &exists) || errors.As(err, &owned) {
		return nil
	}
	return err
}

func (c *Cluster) waitHealthy(ctx context.Context, program string, port int) error {
	url := fmt.Sprintf("http://%s:%d%s", c.Address(), port, healthPath)
	client := direct()
	return c.wait(ctx, program, program, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		var body bytes.Buffer
		_, err = body.ReadFrom(res.Body)
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", res.Status, body.String())
		}
		return err
	})
}
