@delivery
Feature: Deliveries
  Every order is to be delivered: from the restaurant, once the kitchen hands it over, to where its consumer wants it.

  Background:
    Given the consumer "Ada"
    And the next restaurant is to be at:
      | street       | city    | state | zip   |
      | 7 Spice Lane | Oakland | CA    | 94611 |
    And the restaurant "Ajanta" with the menu:
      | dish        | price |
      | Garlic Naan | 3.50  |
    And orders are to be delivered to:
      | street         | city    | state | zip   |
      | 9 Amazing View | Oakland | CA    | 94612 |

  Rule: A delivery follows its order

    @policy
    Scenario: An order is to be delivered from its restaurant to its consumer
      When "Ada" orders at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      Then the delivery of the order is pending
      And the delivery of the order goes:
        | from         | to             |
        | 7 Spice Lane | 9 Amazing View |
      And the order is assigned to nobody

    @policy
    Scenario: A rejected order is not delivered
      Given the account of "Ada" has been disabled
      When "Ada" orders at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      Then the order is rejected
      And the delivery of the order is cancelled

    @policy
    Scenario: A cancelled order is not delivered
      Given "Ada" has ordered at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      When "Ada" cancels the order
      Then the delivery of the order is cancelled

    @policy
    Scenario: What the kitchen hands over is on its way, even when no courier was found in time
      Given "Ada" has ordered at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      And the kitchen has finished the order
      When the kitchen hands over the order
      Then the delivery of the order is picked up

    @policy @own_system
    Scenario: What happened while the delivery service was away is not forgotten
      Given the delivery service is away
      And "Ada" has ordered "lunch" at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 1        |
      And "Ada" has ordered "dinner" at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      And "Ada" has cancelled the order "dinner"
      When the kitchen accepts the order "lunch", to be ready in 20 minutes
      And the delivery service is back
      Then the delivery of the order "lunch" is pending
      And the delivery of the order "lunch" shows the promised time
      And the delivery of the order "dinner" is cancelled

  Rule: What was picked up can be delivered, nothing else

    Background:
      Given "Ada" has ordered at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |

    @command
    Scenario: Delivering
      Given the kitchen has handed over the order
      When the order is delivered
      Then the delivery of the order is delivered

    @command
    Scenario: Not before the kitchen has accepted it
      When the order is delivered
      Then it is refused because "delivery state does not allow action"
      And the delivery of the order is still pending

    @command
    Scenario: Not before it was picked up
      Given the kitchen has finished the order
      When the order is delivered
      Then it is refused because "delivery state does not allow action"

    @command
    Scenario: Not twice
      Given the kitchen has handed over the order
      And the order has been delivered
      When the order is delivered
      Then it is refused because "delivery state does not allow action"
      And the delivery of the order is still delivered

    @command
    Scenario: Not what was cancelled
      Given "Ada" has cancelled the order
      And the delivery of the order is cancelled
      When the order is delivered
      Then it is refused because "delivery state does not allow action"
      And the delivery of the order is still cancelled

    @command
    Scenario: Not what was never ordered
      Given the order "lost", which does not exist
      When the order "lost" is delivered
      Then it is refused because "delivery not found"

    @query
    Scenario: Looking up what was never ordered
      Given the order "lost", which does not exist
      When the delivery of the order "lost" is looked up
      Then it is refused because "delivery not found"
