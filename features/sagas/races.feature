@saga @order
Feature: One change at a time
  While an order is being cancelled or revised, nothing else can be done with it. What came first goes on undisturbed.

  Background:
    Given the consumer "Ada"
    And the restaurant "Ajanta" with the menu:
      | dish        | price |
      | Garlic Naan | 3.50  |
    And "Ada" has ordered at "Ajanta":
      | dish        | quantity |
      | Garlic Naan | 2        |

  Rule: Who comes second is refused

    Background:
      Given the kitchen service is away

    @own_system
    Scenario: Cancelling twice
      Given "Ada" has begun to cancel the order
      When "Ada" cancels the order
      Then it is refused because "order state does not allow action"
      When the kitchen service is back
      Then the order is cancelled
      And the ticket of the order is cancelled
      And "Ada" has $0.00 authorized

    @own_system
    Scenario: Cancelling while revising
      Given "Ada" has begun to revise the order to:
        | dish        | quantity |
        | Garlic Naan | 5        |
      When "Ada" cancels the order
      Then it is refused because "order state does not allow action"
      And the order is still being revised
      When the kitchen service is back
      Then the order is approved
      And the order costs $17.50
      And "Ada" has $17.50 authorized
      And the ticket of the order is awaiting acceptance

    @own_system
    Scenario: Revising while cancelling
      Given "Ada" has begun to cancel the order
      When "Ada" revises the order to:
        | dish        | quantity |
        | Garlic Naan | 5        |
      Then it is refused because "order state does not allow action"
      And the order is still being cancelled
      When the kitchen service is back
      Then the order is cancelled
      And the order costs $7.00
      And "Ada" has $0.00 authorized
      And the ticket of the order is cancelled

    @own_system
    Scenario: Revising while revising
      Given "Ada" has begun to revise the order to:
        | dish        | quantity |
        | Garlic Naan | 5        |
      When "Ada" revises the order to:
        | dish        | quantity |
        | Garlic Naan | 9        |
      Then it is refused because "order state does not allow action"
      When the kitchen service is back
      Then the order is approved
      And the order costs $17.50
      And "Ada" has $17.50 authorized

    @own_system
    Scenario: Other orders go on
      Given "Ada" has begun to cancel the order
      When "Ada" orders "dinner" at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 1        |
      And the kitchen service is back
      Then the order "dinner" is approved
      And the order is cancelled
      And "Ada" has $3.50 authorized

  Rule: Who comes after is served

    Scenario: Cancelling after revising
      Given "Ada" has revised the order to:
        | dish        | quantity |
        | Garlic Naan | 5        |
      When "Ada" cancels the order
      Then the order is cancelled
      And "Ada" has $0.00 authorized

    Scenario: Revising after a cancellation that did not come about
      Given the account of "Ada" has been disabled
      And "Ada" has begun to cancel the order
      And the order is approved
      And the account of "Ada" has been enabled again
      When "Ada" revises the order to:
        | dish        | quantity |
        | Garlic Naan | 5        |
      Then the order costs $17.50
      And the order is approved
      And "Ada" has $17.50 authorized

    Scenario: Cancelling after a revision that did not come about
      Given the account of "Ada" has been disabled
      And "Ada" has begun to revise the order to:
        | dish        | quantity |
        | Garlic Naan | 5        |
      And the order is approved
      And the account of "Ada" has been enabled again
      When "Ada" cancels the order
      Then the order is cancelled
      And "Ada" has $0.00 authorized
      And the ticket of the order is cancelled

  Rule: What changes meanwhile counts

    @own_system
    Scenario: The account is disabled while the kitchen has not answered yet
      Given the kitchen service is away
      And "Ada" has begun to cancel the order
      When the account of "Ada" is disabled
      And the kitchen service is back
      Then the order is approved
      And the ticket of the order is awaiting acceptance
      And "Ada" has $7.00 authorized

    @own_system
    Scenario: A new menu comes while the order is being revised
      Given the accounting service is away
      And "Ada" has begun to revise the order to:
        | dish        | quantity |
        | Garlic Naan | 5        |
      When "Ajanta" changes its menu to:
        | dish        | price |
        | Garlic Naan | 4.00  |
      And the accounting service is back
      Then the order is approved
      And the order costs $17.50
      And "Ada" has $17.50 authorized

    @own_system
    Scenario: Everybody was away at once
      Given the kitchen service is away
      And the accounting service is away
      And the consumer service is away
      When "Ada" orders "dinner" at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 1        |
      And "Ada" cancels the order
      And the kitchen service is back
      And the accounting service is back
      And the consumer service is back
      Then the order is cancelled
      And the order "dinner" is approved
      And "Ada" has $3.50 authorized
