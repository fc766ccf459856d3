@order
Feature: Requests that are sent again
  Who gets no answer does not know whether the request has arrived. A request with a key can be sent again without harm:
  it is done once, and answered as the first time.

  Background:
    Given the consumer "Ada"
    And the restaurant "Ajanta" with the menu:
      | dish        | price |
      | Garlic Naan | 3.50  |

  Rule: A request with a key is done once

    @command
    Scenario: An order that is sent again is the same order
      When "Ada" orders at "Ajanta" with the key "lunch":
        | dish        | quantity |
        | Garlic Naan | 2        |
      And the same request is sent again
      Then the answer is the same as the first time
      And the order is approved
      And the history of "Ada" shows:
        | order     | total |
        | the order | 7.00  |
      And "Ada" has $7.00 authorized

    @command
    Scenario: A cancellation that is sent again is answered as the first time
      Given "Ada" has ordered at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      And "Ada" has cancelled the order with the key "no lunch"
      When the same request is sent again
      Then the answer is that the order is being cancelled
      And the order is cancelled
      And "Ada" has $0.00 authorized

    @command
    Scenario: A revision that is sent again is answered as the first time
      Given "Ada" has ordered at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      When "Ada" revises the order with the key "more lunch" to:
        | dish        | quantity |
        | Garlic Naan | 3        |
      And the same request is sent again
      Then the answer is the same as the first time
      And the order costs $10.50
      And the order is approved
      And "Ada" has $10.50 authorized

    @command
    Scenario: Without a key, what is sent again is done again
      Given "Ada" has just ordered at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      When the same request is sent again
      Then "Ada" has $14.00 authorized

  Rule: A key stands for one request

    @command
    Scenario: The key of another order
      Given "Ada" has ordered at "Ajanta" with the key "lunch":
        | dish        | quantity |
        | Garlic Naan | 2        |
      When "Ada" orders at "Ajanta" with the key "lunch":
        | dish        | quantity |
        | Garlic Naan | 5        |
      Then it is refused because "the idempotency key was used for another request"
      And "Ada" has $7.00 authorized

    @command
    Scenario: The key of another revision
      Given "Ada" has ordered at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      And "Ada" has revised the order with the key "more lunch" to:
        | dish        | quantity |
        | Garlic Naan | 3        |
      When "Ada" revises the order with the key "more lunch" to:
        | dish        | quantity |
        | Garlic Naan | 4        |
      Then it is refused because "the idempotency key was used for another request"
      And the order costs $10.50

    @command
    Scenario: The same key may be used for requests of different kinds
      Given "Ada" has ordered at "Ajanta" with the key "lunch":
        | dish        | quantity |
        | Garlic Naan | 2        |
      And the order is approved
      When "Ada" cancels the order with the key "lunch"
      Then the order is cancelled

  Rule: A refusal is not kept

    @command
    Scenario: What was refused may be possible when it is sent again
      When "Ada" orders at "Ajanta" with the key "lunch":
        | dish        | quantity |
        | Saag Paneer | 1        |
      Then it is refused because "menu item not found"
      When "Ajanta" changes its menu to:
        | dish        | price |
        | Saag Paneer | 10.50 |
      And the same request is sent again
      Then the order is approved
      And the order costs $10.50
