@order
Feature: Cancelling an order
  An approved order can be cancelled. Any other can't.

  Background:
    Given the consumer "Ada"
    And the restaurant "Ajanta" with the menu:
      | dish        | price |
      | Garlic Naan | 3.50  |

  Rule: An approved order can be cancelled

    Background:
      Given "Ada" has ordered at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |

    @command
    Scenario: Cancelling
      When "Ada" cancels the order
      Then the answer is that the order is being cancelled
      And the order is cancelled

    @command
    Scenario: A cancelled order still shows what was ordered
      When "Ada" cancels the order
      Then the order is cancelled
      And the order contains:
        | dish        | price | quantity |
        | Garlic Naan | 3.50  | 2        |

    @command
    Scenario: A revised order can be cancelled
      Given "Ada" has revised the order to:
        | dish        | quantity |
        | Garlic Naan | 3        |
      When "Ada" cancels the order
      Then the order is cancelled

    @command
    Scenario: Cancelling one order leaves the others
      Given "Ada" has ordered "dinner" at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 1        |
      When "Ada" cancels the order
      Then the order is cancelled
      And the order "dinner" is approved

  Rule: No other order can be cancelled

    @command
    Scenario: A cancelled one
      Given "Ada" has ordered at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      And "Ada" has cancelled the order
      When "Ada" cancels the order
      Then it is refused because "order state does not allow action"
      And the order is still cancelled

    @command
    Scenario: A rejected one
      Given the account of "Ada" has been disabled
      And "Ada" has just ordered at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      And the order is rejected
      When "Ada" cancels the order
      Then it is refused because "order state does not allow action"
      And the order is still rejected

    @command @own_system
    Scenario: One that waits for approval
      Given the accounting service is away
      And "Ada" has just ordered at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      When "Ada" cancels the order
      Then it is refused because "order state does not allow action"
      And the order is still waiting for approval

    @command
    Scenario: One that does not exist
      Given the order "lost", which does not exist
      When "Ada" cancels the order "lost"
      Then it is refused because "order not found"
