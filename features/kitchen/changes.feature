@kitchen
Feature: Changes to a ticket
  Until the kitchen starts preparing, an order may still be cancelled or revised. While that is under way the ticket
  stands still; when it does not come about, the ticket goes back to where it was.

  Background:
    Given the consumer "Ada"
    And the restaurant "Ajanta" with the menu:
      | dish             | price |
      | Chicken Vindaloo | 12.34 |
      | Garlic Naan      | 3.50  |
    And "Ada" has ordered at "Ajanta":
      | dish             | quantity |
      | Chicken Vindaloo | 1        |
      | Garlic Naan      | 2        |

  Rule: A ticket can be cancelled until it is prepared

    @policy
    Scenario: Before it is accepted
      When "Ada" cancels the order
      Then the ticket of the order is cancelled

    @policy
    Scenario: After it was accepted
      Given the kitchen has accepted the order
      When "Ada" cancels the order
      Then the ticket of the order is cancelled

    @policy
    Scenario Outline: Not any more once the kitchen <has come so far>
      Given the kitchen <has come so far> the order
      When "Ada" cancels the order
      Then the order is approved
      And the ticket of the order is still <state>

      Examples:
        | has come so far       | state             |
        | has started preparing | being prepared    |
        | has finished          | ready for pick-up |
        | has handed over       | picked up         |

  Rule: A ticket can be revised until it is prepared

    @policy
    Scenario: Before it is accepted
      When "Ada" revises the order to:
        | dish        | quantity |
        | Garlic Naan | 5        |
      Then the order is approved
      And the ticket of the order is awaiting acceptance
      And the ticket of the order contains:
        | dish             | quantity |
        | Chicken Vindaloo | 1        |
        | Garlic Naan      | 5        |

    @policy
    Scenario: After it was accepted
      Given the kitchen has accepted the order
      When "Ada" revises the order to:
        | dish        | quantity |
        | Garlic Naan | 0        |
      Then the order is approved
      And the ticket of the order is still accepted
      And the ticket of the order contains:
        | dish             | quantity |
        | Chicken Vindaloo | 1        |
      And the ticket of the order shows the promised time

    @policy
    Scenario Outline: Not any more once the kitchen <has come so far>
      Given the kitchen <has come so far> the order
      When "Ada" revises the order to:
        | dish        | quantity |
        | Garlic Naan | 5        |
      Then the order is approved
      And the ticket of the order is still <state>
      And the ticket of the order contains:
        | dish             | quantity |
        | Chicken Vindaloo | 1        |
        | Garlic Naan      | 2        |

      Examples:
        | has come so far       | state             |
        | has started preparing | being prepared    |
        | has finished          | ready for pick-up |
        | has handed over       | picked up         |

  Rule: What does not come about leaves the ticket where it was

    @policy
    Scenario: A cancellation that the account refuses, before the ticket is accepted
      Given the account of "Ada" has been disabled
      When "Ada" cancels the order
      Then the order is approved
      And the ticket of the order is awaiting acceptance

    @policy
    Scenario: A cancellation that the account refuses, after the ticket was accepted
      Given the kitchen has accepted the order
      And the account of "Ada" has been disabled
      When "Ada" cancels the order
      Then the order is approved
      And the ticket of the order is accepted
      And the ticket of the order shows the promised time

    @policy
    Scenario: A revision that the account refuses, before the ticket is accepted
      Given the account of "Ada" has been disabled
      When "Ada" revises the order to:
        | dish        | quantity |
        | Garlic Naan | 5        |
      Then the order is approved
      And the ticket of the order is awaiting acceptance
      And the ticket of the order contains:
        | dish             | quantity |
        | Chicken Vindaloo | 1        |
        | Garlic Naan      | 2        |

    @policy
    Scenario: A revision that the account refuses, after the ticket was accepted
      Given the kitchen has accepted the order
      And the account of "Ada" has been disabled
      When "Ada" revises the order to:
        | dish        | quantity |
        | Garlic Naan | 5        |
      Then the order is approved
      And the ticket of the order is accepted

    @policy
    Scenario: The kitchen goes on with a ticket whose cancellation did not come about
      Given the kitchen has accepted the order
      And the account of "Ada" has been disabled
      And "Ada" has begun to cancel the order
      And the order is approved
      When the kitchen starts preparing the order
      Then the ticket of the order is being prepared

  Rule: While a change is under way the ticket stands still

    Background:
      Given the accounting service is away

    @command @own_system
    Scenario: A ticket that is being created can't be accepted
      Given "Ada" has just ordered "dinner" at "Ajanta":
        | dish        | quantity |
        | Garlic Naan | 1        |
      And the ticket of the order "dinner" is being created
      When the kitchen accepts the order "dinner"
      Then it is refused because "ticket state does not allow action"

    @command @own_system
    Scenario: A ticket that is being cancelled can't be accepted
      Given "Ada" has begun to cancel the order
      And the ticket of the order is being cancelled
      When the kitchen accepts the order
      Then it is refused because "ticket state does not allow action"

    @command @own_system
    Scenario: A ticket that is being revised can't be accepted
      Given "Ada" has begun to revise the order to:
        | dish        | quantity |
        | Garlic Naan | 5        |
      And the ticket of the order is being revised
      When the kitchen accepts the order
      Then it is refused because "ticket state does not allow action"

    @policy @own_system
    Scenario: The ticket of a revision under way shows what it did before
      Given "Ada" has begun to revise the order to:
        | dish        | quantity |
        | Garlic Naan | 5        |
      And the ticket of the order is being revised
      Then the ticket of the order contains:
        | dish             | quantity |
        | Chicken Vindaloo | 1        |
        | Garlic Naan      | 2        |
