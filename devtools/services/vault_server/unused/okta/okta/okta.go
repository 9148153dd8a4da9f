// Package okta stands in for Okta's SDK, whose compilation takes longer than that of all the rest.
package okta

import (
	"context"
	"errors"
)

type (
	APIClient struct {
		UserAPI       users
		UserFactorAPI factors
	}
	Configuration  struct{ Context context.Context }
	ConfigSetter   func(*Configuration)
	Factor         struct{ UserFactorPush *UserFactorPush }
	User           struct{}
	UserFactorPush struct{}
	Verification   struct {
		Links                             interface{}
		UserFactorPushTransaction         *struct{}
		UserFactorPushTransactionWaiting  *struct{}
		UserFactorPushTransactionRejected *struct{}
		UserFactorPushTransactionTimeout  *struct{}
	}
	factors     struct{}
	users       struct{}
	call[T any] struct{}
)

func NewConfiguration(...ConfigSetter) (*Configuration, error) {
	return nil, errors.New("built without Okta's SDK")
}

func NewAPIClient(*Configuration) *APIClient { return nil }
func WithCache(bool) ConfigSetter            { return nil }
func WithOrgUrl(string) ConfigSetter         { return nil }
func WithToken(string) ConfigSetter          { return nil }

func (*APIClient) GetConfig() *Configuration                 { return nil }
func (users) ListUsers(context.Context) call[[]User]         { return call[[]User]{} }
func (call[T]) Filter(string) call[T]                        { return call[T]{} }
func (call[T]) Execute() (found T, _ interface{}, err error) { return }

func (factors) ListFactors(context.Context, string) call[[]Factor] { return call[[]Factor]{} }

func (factors) VerifyFactor(context.Context, string, string) call[Verification] {
	return call[Verification]{}
}

func (factors) GetFactorTransactionStatus(context.Context, string, string, string) call[Verification] {
	return call[Verification]{}
}

func (User) GetId() string                   { return "" }
func (UserFactorPush) GetId() string         { return "" }
func (Verification) GetFactorResult() string { return "" }
