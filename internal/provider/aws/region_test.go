// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package aws_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/aws"
	"github.com/valetkey/valetkey/internal/provider/outbound"
)

// sdkRegions are all names that AWS's SDK knows, and whether each is one of a region, as its partition says.
func sdkRegions(t *testing.T) map[string]bool {
	t.Helper()
	const module, file = "github.com/aws/aws-sdk-go-v2", "internal/endpoints/awsrulesfn/partitions.json"
	folder, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(folder)), file))
	if err != nil {
		t.Fatal(err)
	}
	var known struct {
		Partitions []struct {
			RegionRegex string         `json:"regionRegex"`
			Regions     map[string]any `json:"regions"`
		} `json:"partitions"`
	}
	if err := json.Unmarshal(text, &known); err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, p := range known.Partitions {
		for name := range p.Regions {
			all[name] = regexp.MustCompile(p.RegionRegex).MatchString(name)
		}
	}
	return all
}

// TestCheckProvider_OnlyARegionIsOne: every other name that AWS's SDK knows stands for a whole partition.
func TestCheckProvider_OnlyARegionIsOne(t *testing.T) {
	w := newWorld(t)
	all := sdkRegions(t)
	if len(all) < 30 || all["aws-global"] || !all["us-east-1"] {
		t.Fatalf("these are not the SDK's regions: %v", all)
	}
	for _, name := range []string{
		"us-east-1-fips", "fips-us-east-1", "us-fips-east-1", "aws-tomorrow-global", "us-east", "us-1-east",
	} {
		all[name] = false
	}
	for name, is := range all {
		l := w.lease()
		l.Provider.Spec.AWS.Region, l.Provider.Spec.AWS.STSEndpoint = name, ""
		err, problem := w.CheckProvider(l.Provider), (*provider.NotReadyError)(nil)
		words := name + " is not the name of one region of AWS"
		if (err == nil) != is || !is && (!errors.As(err, &problem) || !strings.Contains(err.Error(), words)) {
			t.Errorf("%s: got %v, want a region: %t", name, err, is)
		}
		l.Provider.Spec.AWS.STSEndpoint = w.sts.url
		if err := w.CheckProvider(l.Provider); err != nil {
			t.Errorf("%s, of an STS of one's own: %v", name, err)
		}
	}
}

// TestCheckProvider_ARegionsOwnSTSIsAsked is what the SDK does, as the page says.
func TestCheckProvider_ARegionsOwnSTSIsAsked(t *testing.T) {
	for name, is := range sdkRegions(t) {
		asked := sts.EndpointParameters{Region: &name}.WithDefaults()
		at, err := sts.NewDefaultEndpointResolverV2().ResolveEndpoint(t.Context(), asked)
		if is && (err != nil || !strings.HasPrefix(at.URI.Host, "sts."+name+".")) {
			t.Errorf("%s: asked at %s, %v", name, at.URI.Host, err)
		}
	}
}

// TestRevoke_ASessionOfNoRegionIsStillEnded: an earlier release may have issued it.
func TestRevoke_ASessionOfNoRegionIsStillEnded(t *testing.T) {
	w := newWorld(t)
	l := w.lease()
	l.Capability.Spec.AWS.RevokerRoleARN = revoker
	l.Provider.Spec.AWS.Region, l.Provider.Spec.AWS.STSEndpoint = "aws-global", ""
	a := aws.New(aws.Options{Audiences: []string{audience}, Identities: identities(t), Clock: w.clock,
		Outbound: outbound.Settings{Proxy: outbound.Proxy(unreachable, nil)}})
	if _, err := a.Issue(t.Context(), l); !provider.IsFinal(err) || !provider.IsRefused(err) {
		t.Errorf("it was issued: %v", err)
	}
	_, err := a.Revoke(t.Context(), l.Issued(a.Handle(l), w.clock.Now().Add(time.Hour)))
	if err == nil || !strings.Contains(err.Error(), "the proxy of --https-proxy cannot be reached") {
		t.Errorf("STS was not asked: %v", err)
	}
}
