@consumer
Feature: Consumers are forgotten
  Whoever wants it is forgotten: their name and addresses, what these were before, and where their orders went. What
  the books need stays: that there was an account, and what was authorized.

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

  Rule: Who was erased is not known any more

    @command
    Scenario: A consumer is erased
      Given "Ada" has added the address "home":
        | street        | city    | state | zip   |
        | 1 Main Street | Oakland | CA    | 94611 |
      And "Ada" has been erased
      When the consumer "Ada" is looked up
      Then it is refused because "consumer not found"

    @command
    Scenario: Nothing is done in their name
      Given "Ada" has been erased
      When "Ada" changes their name to "Ada King"
      Then it is refused because "consumer not found"

    @command
    Scenario: Erasing twice is erasing once
      Given "Ada" has been erased
      When "Ada" is erased
      And the consumer "Ada" is looked up
      Then it is refused because "consumer not found"

    @command
    Scenario: Only consumers who registered can be erased
      Given "Zoe", who never registered
      When "Zoe" is erased
      Then it is refused because "consumer not found"

    @policy
    Scenario: Their new orders are rejected, and nobody keeps where they were to go
      Given "Ada" has been erased
      When "Ada" orders at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      Then the order is rejected because "consumer not found"
      And the delivery of the order goes:
        | from         | to |
        | 7 Spice Lane |    |

  Rule: The books stay right

    @policy
    Scenario: The account stays, without the name
      Given "Ada" has ordered at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      When "Ada" is erased
      Then "Ada" has an account in the name of ""
      And "Ada" has $7.00 authorized

  Rule: Orders under way come to their end

    @policy
    Scenario: An order is delivered, and then nobody knows where to
      Given the courier "Carl" is on duty
      And "Ada" has ordered at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      And the kitchen has accepted the order
      When "Ada" is erased
      Then "Ada" has an account in the name of ""
      And the delivery of the order goes:
        | from         | to             |
        | 7 Spice Lane | 9 Amazing View |
      When the kitchen starts preparing the order
      And the kitchen finishes the order
      And the kitchen hands over the order
      Then the delivery of the order is picked up
      When the order is delivered
      Then the delivery of the order goes:
        | from         | to |
        | 7 Spice Lane |    |
      And "Carl" has nothing to do

    @policy
    Scenario: All earlier orders are forgotten
      Given "Ada" has ordered "lunch" at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 2        |
      And "Ada" has ordered "dinner" at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 1        |
      And "Ada" has cancelled the order "lunch"
      And "Ada" has cancelled the order "dinner"
      When "Ada" is erased
      Then the delivery of the order "lunch" goes:
        | from         | to |
        | 7 Spice Lane |    |
      And the delivery of the order "dinner" goes:
        | from         | to |
        | 7 Spice Lane |    |
